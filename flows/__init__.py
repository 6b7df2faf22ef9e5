"""The only place that imports Prefect: hcs.run as flows and tasks to watch."""
