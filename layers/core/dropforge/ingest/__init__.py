"""From bytes to accepted rows and quarantined rows: formats, dialect, column scan, checks, rejected rows."""
