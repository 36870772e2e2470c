"""What is known of hands, in numpy alone: skeleton, boxes, cameras, the canonical right hand, descriptors, alignment, metrics.

Units: pixels with centres at integers for points, metres for joints, unless a name says otherwise.
"""
