"""Settings: schema, registry, composition, one-line errors."""
