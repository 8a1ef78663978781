"""Finished runs as a web service.

`sources` finds the runs, `models` loads them, `batching` computes, `decoding` reads images, `service` brings these
together, `app` has the routes and `schemas` their description, `middleware` and `protocol` hold the limits, `process`
starts it all and shuts it down.
"""
