"""Values, forms, answers and addresses that interfaces share; sans-IO."""
