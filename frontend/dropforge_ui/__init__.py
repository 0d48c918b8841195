"""The web app. It knows the API by HTTP and nothing else of Dropforge."""
