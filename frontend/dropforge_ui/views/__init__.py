"""Answers of the API as HTML. No view asks the API anything: a dictionary in, markup out."""
