"""What answers cost, and who may still pay for one: prices, budgets, and the stage that asks the store."""
