"""Profile, compare, verdict, suggestions, report."""
