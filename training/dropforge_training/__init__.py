"""The training container: a job in, a model, its evaluation and its bundle out."""
