"""Separation of many tracks at once, in constant memory, as Demucs' `apply_model` would one."""
