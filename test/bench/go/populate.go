package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/storage"
)

// layer is one line of the file: a committed snapshot as test/bench/populate.ts writes it.
type layer struct {
	Name   string            `json:"name"`
	Parent string            `json:"parent"`
	Labels map[string]string `json:"labels"`
	Size   int64             `json:"size"`
	Inodes int64             `json:"inodes"`
}

// layersOfATransaction keeps bolt's dirty pages within bounds.
const layersOfATransaction = 10_000

// populateFrom puts layers into the snapshotter's own database through containerd's storage
// package. Directories are not made: Stat, List and Usage of committed snapshots never look.
func populateFrom(root, file string) error {
	if err := os.MkdirAll(filepath.Join(root, "snapshots"), 0o700); err != nil {
		return err
	}
	store, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"))
	if err != nil {
		return err
	}
	defer store.Close()
	input, err := os.Open(file)
	if err != nil {
		return err
	}
	defer input.Close()
	lines := bufio.NewScanner(input)
	for more := true; more; {
		if more, err = writeSome(store, lines); err != nil {
			return err
		}
	}
	return lines.Err()
}

func writeSome(store *storage.MetaStore, lines *bufio.Scanner) (bool, error) {
	ctx, transaction, err := store.TransactionContext(context.Background(), true)
	if err != nil {
		return false, err
	}
	for index := 0; index < layersOfATransaction; index++ {
		if !lines.Scan() {
			return false, transaction.Commit()
		}
		var one layer
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return false, err
		}
		if err := write(ctx, one); err != nil {
			return false, fmt.Errorf("%s: %w", one.Name, err)
		}
	}
	return true, transaction.Commit()
}

func write(ctx context.Context, one layer) error {
	key := "extract " + one.Name
	labels := snapshots.WithLabels(one.Labels)
	if _, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, one.Parent, labels); err != nil {
		return err
	}
	_, err := storage.CommitActive(ctx, key, one.Name, snapshots.Usage{Size: one.Size, Inodes: one.Inodes}, labels)
	return err
}
