// Deployments to several regions: when one fails, those that have not begun are cancelled, and the others rolled back.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"toril"
)

type region struct {
	Region string `json:"region"`
	Broken bool   `json:"broken,omitempty"`
}

type deployment struct {
	Version string `json:"version"`
}

func deployRegion(ctx context.Context, job *toril.Job, data region) (region, error) {
	if data.Broken {
		return region{}, fmt.Errorf("%s refused the deployment", data.Region)
	}
	return region{Region: data.Region}, nil
}

func deploy(ctx context.Context, job *toril.Job, data deployment) (any, error) {
	failed, err := job.FailedChildrenValues()
	if err != nil {
		return nil, err
	}
	if len(failed) == 0 {
		return map[string]string{"status": "deployed", "version": data.Version}, nil
	}
	if _, err := job.RemoveUnprocessedChildren(); err != nil {
		return nil, err
	}
	deployed, err := toril.ChildrenValues[region](job)
	if err != nil {
		return nil, err
	}
	for _, one := range deployed {
		fmt.Println("rolled back", one.Region)
	}
	return nil, fmt.Errorf("Deployment failed in: %s", strings.Join(slices.Sorted(maps.Keys(failed)), ", "))
}

func main() {
	toril.ServeQueue("deploy-region", toril.Typed(deployRegion))
	toril.ServeQueue("deployments", toril.Typed(deploy))
}
