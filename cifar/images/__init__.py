"""Images: reading, fitting, overlays."""
