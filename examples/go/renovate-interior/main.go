// The costs of a renovation: each step is a child that returns its price, the parent sums them up.
package main

import (
	"context"
	"fmt"

	"toril"
)

type step struct {
	Place string `json:"place"`
}

func work(ctx context.Context, job *toril.Job, data step) (int, error) {
	fmt.Println("working on the", data.Place)
	switch job.Name() {
	case "paint":
		return 2500, nil
	case "fix":
		return 1750, nil
	}
	return 0, nil
}

func renovate(ctx context.Context, job *toril.Job) (any, error) {
	costs, err := toril.ChildrenValues[int](job)
	if err != nil {
		return nil, err
	}
	total := 0
	for _, cost := range costs {
		total += cost
	}
	fmt.Println("invoice over", total)
	return total, nil
}

func main() {
	toril.ServeQueue("steps", toril.Typed(work))
	toril.ServeQueue("renovate", renovate)
}
