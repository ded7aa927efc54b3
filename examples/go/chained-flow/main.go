// A job in steps that adds a whole flow while it runs, and waits for it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"toril"
)

const (
	initial = iota
	second
	third
	finish
)

type state struct {
	Step int `json:"step"`
}

type part struct {
	Idx int    `json:"idx"`
	Foo string `json:"foo"`
}

func parent(ctx context.Context, job *toril.Job, data state) (int, error) {
	for data.Step != finish {
		switch data.Step {
		case initial:
			fmt.Println("initial step")
			if err := addFlow(job); err != nil {
				return 0, err
			}
		case second:
			fmt.Println("second step")
		case third:
			waits, err := job.MoveToWaitingChildren()
			if err != nil {
				return 0, err
			}
			if waits {
				return 0, toril.WaitingChildrenError{}
			}
		default:
			return 0, errors.New("invalid step")
		}
		data.Step++
		if err := job.UpdateData(data); err != nil {
			return 0, err
		}
	}
	return finish, nil
}

func addFlow(job *toril.Job) error {
	grandchild := func(data part) toril.FlowJob {
		return toril.FlowJob{Name: "grandchild-job", QueueName: "grandchildrenQueueName", Data: data}
	}
	_, err := toril.AddFlow(toril.FlowJob{
		Name:      "child-job",
		QueueName: "childrenQueueName",
		Data:      struct{}{},
		Opts:      &toril.JobOptions{Parent: job.AsParent()},
		Children:  []toril.FlowJob{grandchild(part{0, "bar"}), grandchild(part{1, "baz"})},
	})
	return err
}

func child(ctx context.Context, job *toril.Job) (any, error) {
	values, err := job.ChildrenValues()
	return slices.Collect(maps.Values(values)), err
}

func grandchild(ctx context.Context, job *toril.Job) (any, error) {
	return json.RawMessage(job.Data()), nil
}

func main() {
	toril.ServeQueue("parentQueueName", toril.Typed(parent))
	toril.ServeQueue("childrenQueueName", child)
	toril.ServeQueue("grandchildrenQueueName", grandchild)
}
