"""From bytes to accepted rows: admission, schema, quarantine, dataset versions."""
