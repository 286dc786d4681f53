"""What people look at: marts, the published snapshot and the report."""
