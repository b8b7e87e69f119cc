"""Stores of limits that several servers share."""
