"""From pixels to pixels: windows, the painter's seam, stitch, label, measures and gates."""
