package store

import (
	"errors"
	"slices"
	"testing"
)

func TestSample(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		sample := func(refuse ...string) (opened, failed int, contexts []string) {
			opened, failed, err := r.Sample(t.Context(), func(context string, sealed []byte) error {
				if contexts = append(contexts, context); string(sealed) != "sealed view" || slices.Contains(refuse, context) {
					return errors.New("no")
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return opened, failed, contexts
		}
		if opened, failed, _ := sample(); opened != 0 || failed != 0 {
			t.Errorf("of nothing %d were opened and %d not", opened, failed)
		}
		for range 9 {
			r.accept(r.letter([]string{"bob@ok.test"}))
		}
		opened, failed, contexts := sample("viewM000009")
		if want := []string{"viewM000001", "viewM000002", "viewM000003", "viewM000009", "viewM000008", "viewM000007"}; !slices.Equal(contexts, want) {
			t.Errorf("the sample is %q, want %q", contexts, want)
		}
		if opened != 5 || failed != 1 {
			t.Errorf("%d were opened and %d not", opened, failed)
		}
	})
}
