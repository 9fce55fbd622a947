// Filters answers what containerd's own snapshot store answers to filters: it fills a metadata
// store with the snapshots of the question and walks it once for each query.
//
// Standard input, JSON:  {"snapshots": [{name, parent, kind, labels}], "queries": [[filter, …]]}
// Standard output, JSON: for each query the sorted names it matched, or null when it was refused.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"path/filepath"
	"sort"

	"github.com/containerd/containerd/snapshots"
	"github.com/containerd/containerd/snapshots/storage"
	"github.com/sirupsen/logrus"
)

type snapshot struct {
	Name   string            `json:"name"`
	Parent string            `json:"parent"`
	Kind   string            `json:"kind"`
	Labels map[string]string `json:"labels"`
}

type question struct {
	Snapshots []snapshot `json:"snapshots"`
	Queries   [][]string `json:"queries"`
}

func main() {
	// containerd writes a line for each snapshot held against a pattern that does not compile.
	logrus.SetLevel(logrus.PanicLevel)
	var asked question
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		log.Fatal(err)
	}
	answers, err := answer(asked)
	if err != nil {
		log.Fatal(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

func answer(asked question) (answers [][]string, err error) {
	dir, err := os.MkdirTemp("", "stratalog-filters-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	store, err := storage.NewMetaStore(filepath.Join(dir, "metadata.db"))
	if err != nil {
		return nil, err
	}
	defer store.Close()
	ctx, transaction, err := store.TransactionContext(context.Background(), true)
	if err != nil {
		return nil, err
	}
	defer transaction.Rollback()

	for _, s := range asked.Snapshots {
		if err := create(ctx, s); err != nil {
			return nil, err
		}
	}
	for _, filters := range asked.Queries {
		names := []string{}
		collect := func(_ context.Context, info snapshots.Info) error {
			names = append(names, info.Name)
			return nil
		}
		if err := storage.WalkInfo(ctx, collect, filters...); err != nil {
			names = nil
		}
		sort.Strings(names)
		answers = append(answers, names)
	}
	return answers, nil
}

func create(ctx context.Context, s snapshot) error {
	labels := snapshots.WithLabels(s.Labels)
	switch s.Kind {
	case "view":
		_, err := storage.CreateSnapshot(ctx, snapshots.KindView, s.Name, s.Parent, labels)
		return err
	case "active":
		_, err := storage.CreateSnapshot(ctx, snapshots.KindActive, s.Name, s.Parent, labels)
		return err
	}
	key := s.Name + "-key"
	if _, err := storage.CreateSnapshot(ctx, snapshots.KindActive, key, s.Parent); err != nil {
		return err
	}
	_, err := storage.CommitActive(ctx, key, s.Name, snapshots.Usage{}, labels)
	return err
}
