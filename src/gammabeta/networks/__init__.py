"""The verbs on trained networks, in no framework's terms: recalibrate, adapt, fold, transfer, diagnose."""
