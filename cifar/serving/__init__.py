"""Finished runs as a web service.

`sources` says which runs, `models` loads them, `batching` computes, `decoding` reads images, `app` answers, `guard`
keeps the limits, `process` runs it all and ends it in order.
"""
