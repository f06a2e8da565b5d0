"""Backdoor triggers: one file each."""
