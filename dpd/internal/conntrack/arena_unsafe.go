package conntrack

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"
)

// Advice values of madvise(2) that package syscall doesn't name.
const (
	madvHugepage      = 14
	madvPopulateWrite = 23
)

// arena holds the mappings of one table: memory that the garbage collector neither scans nor counts, in huge pages where
// the kernel gives them, faulted in before the first packet.
type arena struct {
	maps [][]byte
	size uint64 // bytes faulted in
}

// region maps n zeroed elements of T, which must be free of pointers, in huge pages if possible, and faults them in.
func region[T any](a *arena, n int) ([]T, error) {
	s, b, err := mapped[T](a, n)
	if err != nil || len(b) == 0 {
		return nil, err
	}
	a.size += uint64(len(b))
	_ = syscall.Madvise(b, madvHugepage) // refused where huge pages are off: slower, not wrong
	if err := syscall.Madvise(b, madvPopulateWrite); err != nil {
		for i := 0; i < len(b); i += 4096 {
			b[i] = 0
		}
	}
	return s, nil
}

// sparse maps n zeroed elements of T that mostly stay untouched, and so without memory.
func sparse[T any](a *arena, n int) ([]T, error) {
	s, _, err := mapped[T](a, n)
	return s, err
}

func mapped[T any](a *arena, n int) ([]T, []byte, error) {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if size == 0 {
		return nil, nil, nil
	}
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		return nil, nil, fmt.Errorf("conntrack: mapping %d bytes: %w", size, err)
	}
	a.maps = append(a.maps, b)
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b))), n), b, nil
}

// close unmaps everything. Slices handed out must not be used after.
func (a *arena) close() error {
	var errs []error
	for _, b := range a.maps {
		errs = append(errs, syscall.Munmap(b))
	}
	a.maps = nil
	return errors.Join(errs...)
}
