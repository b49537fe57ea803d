"""Many files as one data set: discovery, schema, ledger, resumable jobs."""
