"""Tables of other systems as uploads: of each source, what is new since it was pulled last."""
