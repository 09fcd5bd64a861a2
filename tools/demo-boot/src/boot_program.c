// SPDX-License-Identifier: MPL-2.0
// A boot program for UEFI firmware: it says its name on the console and switches the machine off.
// The structures end with the last member that the program uses. Their names are those of the UEFI
// specification: chapter 4 has the system table, 8 the runtime services, 12 the console.

#define EFIAPI __attribute__((ms_abi))

typedef struct text_output {
    void* Reset;
    unsigned long long(EFIAPI* OutputString)(struct text_output*, const __CHAR16_TYPE__*);
} EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL;

typedef struct {
    char Hdr[24];
    void* TimeAndVariables[10];  // The ten functions before ResetSystem.
    void(EFIAPI* ResetSystem)(int, unsigned long long, unsigned long long, void*);
} EFI_RUNTIME_SERVICES;

typedef struct {
    char Hdr[24];
    void* FirmwareVendor;
    unsigned long long FirmwareRevision;
    void *ConsoleInHandle, *ConIn, *ConsoleOutHandle;
    EFI_SIMPLE_TEXT_OUTPUT_PROTOCOL* ConOut;
    void *StandardErrorHandle, *StdErr;
    EFI_RUNTIME_SERVICES* RuntimeServices;
} EFI_SYSTEM_TABLE;

enum { EfiResetShutdown = 2 };

unsigned long long EFIAPI efi_main(void* image, EFI_SYSTEM_TABLE* system) {
    (void)image;
    // TEXT comes from the compiler's command line.
    system->ConOut->OutputString(system->ConOut, TEXT);
    system->RuntimeServices->ResetSystem(EfiResetShutdown, 0, 0, 0);
    return 0;
}
