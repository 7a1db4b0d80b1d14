"""Operations on a category as a whole: check, preparation, lock, sync with storage, status, garbage collection."""
