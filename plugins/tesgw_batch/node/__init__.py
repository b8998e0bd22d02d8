"""What runs on a node of Azure Batch: one process for each attempt, which drives the executors' containers beside it.

START HERE: `main.main`, then `attempt.Attempt.run`. Knows nothing of the gateway but the documents they exchange.
"""
