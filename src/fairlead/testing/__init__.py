"""Public fakes and check-suites for every plugin contract."""
