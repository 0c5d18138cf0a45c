"""How objects are shown: tables, JSON, YAML, names, JSONPath, Go templates, custom columns. Pure: values in, text out."""
