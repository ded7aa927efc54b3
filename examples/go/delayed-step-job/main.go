// A job in steps that rests between them; while it rests it holds no worker, and no attempt is spent.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"toril"
)

const (
	initial = iota
	second
	finish
)

type state struct {
	Step int `json:"step"`
}

func process(ctx context.Context, job *toril.Job, data state) (int, error) {
	for data.Step != finish {
		switch data.Step {
		case initial:
			fmt.Println("initial step")
			if err := job.MoveToDelayed(time.Now().Add(200 * time.Millisecond)); err != nil {
				return 0, err
			}
			if err := job.UpdateData(state{second}); err != nil {
				return 0, err
			}
			return 0, toril.DelayedError{}
		case second:
			fmt.Println("second step")
			data.Step = finish
			if err := job.UpdateData(data); err != nil {
				return 0, err
			}
		default:
			return 0, errors.New("invalid step")
		}
	}
	return finish, nil
}

func main() { toril.Serve(toril.Typed(process)) }
