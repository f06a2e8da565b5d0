"""Backdoor mitigations: one file each. None of them may see the truth."""
