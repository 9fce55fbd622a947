// Command unpack is containerd's own unpack, and a look at what it made.
//
// Requests come as lines of JSON on stdin, one reply a line on stdout:
//
//	{"apply": {"layout": DIR, "digest": DIGEST, "mediaType": TYPE, "root": DIR, "parents": [DIR, …]}}
//	{"walk": DIR}
//
// Apply is the service that containerd unpacks layers with (diff/apply), on the mounts that its
// overlayfs snapshotter returns: a bind mount for a lowest layer, else an overlay of root over
// parents, topmost first. Walk lists a tree, sorted by name, without following links. Names, link
// targets and extended attributes are base64: they need not be UTF-8.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/containerd/containerd/content/local"
	"github.com/containerd/containerd/diff/apply"
	"github.com/containerd/containerd/mount"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

type request struct {
	Apply *applyRequest `json:"apply"`
	Walk  string        `json:"walk"`
}

type applyRequest struct {
	Layout    string        `json:"layout"`
	Digest    digest.Digest `json:"digest"`
	MediaType string        `json:"mediaType"`
	Root      string        `json:"root"`
	Parents   []string      `json:"parents"`
}

type reply struct {
	Error string `json:"error,omitempty"`
	// Of the uncompressed tar.
	DiffID  digest.Digest `json:"diffId,omitempty"`
	Entries []entry       `json:"entries,omitempty"`
}

type entry struct {
	Name       []byte            `json:"name"`
	Mode       uint32            `json:"mode"`
	UID        uint32            `json:"uid"`
	GID        uint32            `json:"gid"`
	Device     string            `json:"device,omitempty"`
	Size       int64             `json:"size"`
	Modified   string            `json:"modified"`
	Accessed   string            `json:"accessed"`
	Inode      string            `json:"inode"`
	Links      uint64            `json:"links"`
	Target     []byte            `json:"target,omitempty"`
	Content    string            `json:"content,omitempty"`
	Attributes map[string][]byte `json:"attributes,omitempty"`
}

func main() {
	// What the applier leaves out it only logs.
	logrus.SetLevel(logrus.ErrorLevel)
	input := bufio.NewReader(os.Stdin)
	output := json.NewEncoder(os.Stdout)
	for {
		line, err := input.ReadBytes('\n')
		if err == io.EOF {
			return
		}
		if err != nil {
			fail(err)
		}
		var asked request
		if err := json.Unmarshal(line, &asked); err != nil {
			fail(err)
		}
		if err := output.Encode(answer(asked)); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func answer(asked request) reply {
	if asked.Apply != nil {
		diffID, err := unpack(*asked.Apply)
		if err != nil {
			return reply{Error: err.Error()}
		}
		return reply{DiffID: diffID}
	}
	entries, err := walk(asked.Walk)
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{Entries: entries}
}

func unpack(asked applyRequest) (digest.Digest, error) {
	store, err := local.NewStore(asked.Layout)
	if err != nil {
		return "", err
	}
	info, err := store.Info(context.Background(), asked.Digest)
	if err != nil {
		return "", err
	}
	descriptor := ocispec.Descriptor{MediaType: asked.MediaType, Digest: asked.Digest, Size: info.Size}
	mounts := []mount.Mount{{Type: "bind", Source: asked.Root, Options: []string{"rw", "rbind"}}}
	if len(asked.Parents) > 0 {
		mounts = []mount.Mount{{Type: "overlay", Source: "overlay", Options: []string{
			"workdir=unused", "upperdir=" + asked.Root, "lowerdir=" + strings.Join(asked.Parents, ":"),
		}}}
	}
	applied, err := apply.NewFileSystemApplier(store).Apply(context.Background(), descriptor, mounts)
	return applied.Digest, err
}

func walk(root string) ([]entry, error) {
	entries := []entry{}
	err := filepath.Walk(root, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		found, err := look(path, strings.TrimPrefix(path, root))
		if err != nil {
			return fmt.Errorf("%q: %w", path, err)
		}
		entries = append(entries, found)
		return nil
	})
	return entries, err
}

// look takes the times before it reads anything.
func look(path, name string) (entry, error) {
	var stat unix.Stat_t
	if err := unix.Lstat(path, &stat); err != nil {
		return entry{}, err
	}
	found := entry{
		Name:     []byte(name),
		Mode:     stat.Mode,
		UID:      stat.Uid,
		GID:      stat.Gid,
		Modified: fmt.Sprint(stat.Mtim.Nano()),
		Accessed: fmt.Sprint(stat.Atim.Nano()),
		Inode:    fmt.Sprint(stat.Ino),
		Links:    uint64(stat.Nlink),
	}
	switch stat.Mode & syscall.S_IFMT {
	case syscall.S_IFCHR, syscall.S_IFBLK:
		found.Device = fmt.Sprintf("%d:%d", unix.Major(uint64(stat.Rdev)), unix.Minor(uint64(stat.Rdev)))
	case syscall.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return entry{}, err
		}
		found.Target = []byte(target)
	case syscall.S_IFREG:
		found.Size = stat.Size
		content, err := hashOf(path)
		if err != nil {
			return entry{}, err
		}
		found.Content = content
	}
	attributes, err := attributesOf(path)
	found.Attributes = attributes
	return found, err
}

func hashOf(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

func attributesOf(path string) (map[string][]byte, error) {
	list := make([]byte, 64*1024)
	size, err := unix.Llistxattr(path, list)
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	attributes := map[string][]byte{}
	for _, name := range strings.Split(string(list[:size]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64*1024)
		length, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		attributes[hex.EncodeToString([]byte(name))] = value[:length]
	}
	return attributes, nil
}
