"""Finished runs as a web service.

`sources` finds runs, `models` loads them, `batching` batches requests, `decoding` reads images, in `turns`, or in
`workers` if they are large, `encoding` writes JSON, `service` combines these. `app` has the routes of this project,
`tensorflow_serving`, `open_inference` and `mlflow_scoring` those of other servers, `schemas`, `bodies` and `openapi`
their documentation. `protocol` and `middleware` enforce limits, `process` starts the service and shuts it down.
"""
