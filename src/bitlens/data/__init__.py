"""What the models read: texts as documents, documents as token rows, rows as batches."""
