"""Everything that is kept in Redis: key names, scripts, records, sessions, cached answers.

No module here opens a connection by itself: functions take a ``Batch``.
"""
