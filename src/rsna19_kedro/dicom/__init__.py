"""DICOM input (headers, pixels, series, sources) and output (SR, SEG). No torch, no Kedro."""
