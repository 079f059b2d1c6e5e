"""The core: task, idle, worker, scheduler. Read README.md beside this file first."""
