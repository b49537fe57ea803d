"""The lab: every claim about normalization, computed by this library before one's eyes.

`app.py` is the page, a marimo file: `gammabeta lab` serves it, `marimo edit` opens it, Python runs it. It needs the
extra `lab`; only `app`, `page`, `pictures`, `training` and `server` import what that installs.
"""
