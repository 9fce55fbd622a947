/**
 * The directory that mkfs makes at the top of each ext2, ext3 and ext4, and into which fsck puts
 * what it finds. It belongs to the file system: never deleted, never reported.
 */
export const LOST_AND_FOUND = 'lost+found';
