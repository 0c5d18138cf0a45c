"""StatefulSets: pods with a name and claims of their own, one after the other."""
