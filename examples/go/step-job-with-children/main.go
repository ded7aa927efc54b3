// A job in steps that adds children while it runs, and waits for them.
package main

import (
	"context"
	"errors"
	"fmt"

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

var children = toril.NewQueue("childrenQueueName")

func parent(ctx context.Context, job *toril.Job, data state) (int, error) {
	for data.Step != finish {
		switch data.Step {
		case initial:
			fmt.Println("initial step")
			if err := addChild(job, "child-1"); err != nil {
				return 0, err
			}
		case second:
			fmt.Println("second step")
			if err := addChild(job, "child-2"); err != nil {
				return 0, err
			}
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

func addChild(job *toril.Job, name string) error {
	_, err := children.Add(name, map[string]string{"foo": "bar"}, toril.JobOptions{Parent: job.AsParent()})
	return err
}

func child(ctx context.Context, job *toril.Job) (any, error) {
	return map[string]string{"made": job.Name()}, nil
}

func main() {
	toril.ServeQueue("parentQueueName", toril.Typed(parent))
	toril.ServeQueue("childrenQueueName", child)
}
