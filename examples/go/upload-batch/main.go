// Uploads to several servers: when one fails, those that have not begun are cancelled, and the files of the others deleted.
package main

import (
	"context"
	"errors"
	"fmt"

	"toril"
)

type upload struct {
	Server string `json:"server"`
	Broken bool   `json:"broken"`
}

type uploaded struct {
	FileURL string `json:"fileUrl"`
}

type batch struct {
	BatchID string `json:"batchId"`
}

func uploadFile(ctx context.Context, job *toril.Job, data upload) (uploaded, error) {
	if data.Broken {
		return uploaded{}, fmt.Errorf("%s does not answer", data.Server)
	}
	return uploaded{fmt.Sprintf("https://%s.example/%s", data.Server, job.ID())}, nil
}

func uploadBatch(ctx context.Context, job *toril.Job, data batch) (any, error) {
	failed, err := job.FailedChildrenValues()
	if err != nil {
		return nil, err
	}
	if len(failed) == 0 {
		return map[string]string{"status": "success", "batchId": data.BatchID}, nil
	}
	if _, err := job.RemoveUnprocessedChildren(); err != nil {
		return nil, err
	}
	files, err := toril.ChildrenValues[uploaded](job)
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		fmt.Println("deleted", file.FileURL)
	}
	return nil, errors.New("Upload batch failed")
}

func main() {
	toril.ServeQueue("file-uploads", toril.Typed(uploadFile))
	toril.ServeQueue("uploads", toril.Typed(uploadBatch))
}
