"""What tests read: pictures, data sets, models, schemas."""
