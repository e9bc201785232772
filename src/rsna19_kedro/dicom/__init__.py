"""DICOM in and out: headers, pixels, series choice, sources; SR and SEG. No torch, no Kedro."""
