"""Engines that are servers of OpenAI's API: any that runs already, and those that are started here."""
