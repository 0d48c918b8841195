"""One prediction request: formats, model cache, canary routing, response."""
