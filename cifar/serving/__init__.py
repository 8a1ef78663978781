"""Finished runs as a web service.

`sources` finds runs, `models` loads them, `batching` batches requests, `decoding` reads images, `service` combines
these, `app` has the routes and `schemas` their documentation, `middleware` and `protocol` enforce limits, `process`
starts the service and shuts it down.
"""
