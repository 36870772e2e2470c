"""Geometry and metrics of hands: skeleton, boxes, cameras, canonical right hand, descriptors, alignment. numpy and
scipy only.

Units: points in pixels with centres at integers, joints in metres, unless a name says otherwise.
"""
