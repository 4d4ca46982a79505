#include "io/pages.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace weir::io {

TEST(Pages, AreZerosAtTheBeginOfAPageWhateverTheirSize) {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (const std::size_t size : {std::size_t{1}, std::size_t{16} << 10, (std::size_t{1} << 20) - 1,
                                 std::size_t{1} << 20, std::size_t{16} << 20}) {
    for (int again = 0; again < 2; ++again) {  // the allocator gives out the same memory again
      const Pages pages(size);
      const auto bytes = pages.bytes();
      ASSERT_EQ(bytes.size(), size);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(bytes.data()) % page, 0u) << size;
      EXPECT_TRUE(std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{}; }))
          << size;
      std::ranges::fill(bytes, std::byte{0xff});
    }
  }
}

}  // namespace weir::io
