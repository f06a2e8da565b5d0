"""From records to tables, figures and one offline page."""
