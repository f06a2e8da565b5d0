"""``vidoor audit``: clips, and maybe a model, in; verdict, suspicious clips and a page out."""
